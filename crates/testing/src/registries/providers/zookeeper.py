"""An instance in ZooKeeper, registered by kazoo: ADDRESS NODE CONTENT, and commands on standard input."""
import sys

from kazoo.client import KazooClient

address, node, content = sys.argv[1:4]
client = KazooClient(hosts=address, timeout=float(sys.argv[4]) if len(sys.argv) > 4 else 4.0)
client.start()


def register(content):
    client.create(node, content.encode(), ephemeral=True, makepath=True)


register(content)
print("registered", flush=True)
for line in sys.stdin:
    command, _, rest = line.strip().partition(" ")
    if command == "leave":
        client.delete(node)
    elif command == "update":
        client.set(node, rest.encode())
    elif command == "register":
        register(rest or content)
    print("done", flush=True)
