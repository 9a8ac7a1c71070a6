"""An instance in Eureka, registered by py-eureka-client: URL APPLICATION IP PORT METADATA, and commands on standard input."""
import json
import logging
import sys

logging.disable(logging.CRITICAL)

import py_eureka_client.eureka_client as eureka  # noqa: E402

url, application, ip, port, metadata = sys.argv[1:6]

client = eureka.init(
    eureka_server=url, app_name=application, instance_ip=ip, instance_host=ip, instance_port=int(port),
    instance_id=f"{ip}:{application}:{port}", metadata=json.loads(metadata), renewal_interval_in_secs=2,
    duration_in_secs=6, should_discover=False,
)
print("registered", flush=True)
for line in sys.stdin:
    command, _, rest = line.strip().partition(" ")
    if command == "leave":
        eureka.stop()
    elif command == "status":
        client.status_update(rest)
    print("done", flush=True)
