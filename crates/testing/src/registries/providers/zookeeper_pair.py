"""Two instances in ZooKeeper that leave in one transaction: ADDRESS NODE NODE, and commands on standard input."""
import sys

from kazoo.client import KazooClient

address, *nodes = sys.argv[1:4]
client = KazooClient(hosts=address, timeout=4.0)
client.start()
for node in nodes:
    client.create(node, b"{}", ephemeral=True, makepath=True)
print("registered", flush=True)
for line in sys.stdin:
    transaction = client.transaction()
    for node in nodes:
        transaction.delete(node)
    transaction.commit()
    print("done", flush=True)
