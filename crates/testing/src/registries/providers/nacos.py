"""An instance in Nacos, registered by the official client: ADDRESS SERVICE IP PORT METADATA, and commands on standard input."""
import asyncio
import json
import logging
import os
import sys
import tempfile

os.environ["HOME"] = tempfile.mkdtemp()
logging.disable(logging.CRITICAL)

from v2.nacos import (  # noqa: E402
    ClientConfigBuilder,
    DeregisterInstanceParam,
    NacosNamingService,
    RegisterInstanceParam,
)

address, service, ip, port, metadata = sys.argv[1:6]


async def patiently(begin):
    """A server that has just begun may not know its accounts yet."""
    for left in reversed(range(60)):
        try:
            return await begin()
        except Exception:
            if not left:
                raise
            await asyncio.sleep(0.5)


async def main():
    where = os.environ["HOME"]
    builder = ClientConfigBuilder().server_address(address).namespace_id("public")
    builder = builder.log_dir(where).cache_dir(where)
    if len(sys.argv) > 6:
        builder = builder.username(sys.argv[6]).password(sys.argv[7])

    async def register(naming, metadata, weight=1.0):
        await naming.register_instance(
            request=RegisterInstanceParam(
                service_name=service, group_name="DEFAULT_GROUP", ip=ip, port=int(port), weight=weight,
                cluster_name="DEFAULT", metadata=json.loads(metadata), enabled=True, healthy=True, ephemeral=True,
            )
        )

    async def begin():
        """A client that was refused once may ask no more: each try has its own."""
        naming = await NacosNamingService.create_naming_service(builder.build())
        try:
            await register(naming, metadata)
        except Exception:
            await naming.shutdown()
            raise
        return naming

    naming = await patiently(begin)
    print("registered", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, _, rest = line.strip().partition(" ")
        if command == "leave":
            await naming.deregister_instance(
                request=DeregisterInstanceParam(
                    service_name=service, group_name="DEFAULT_GROUP", ip=ip, port=int(port),
                    cluster_name="DEFAULT", ephemeral=True,
                )
            )
        elif command == "register":
            await register(naming, rest or metadata)
        elif command == "weight":
            await register(naming, metadata, float(rest))
        print("done", flush=True)


asyncio.run(main())
