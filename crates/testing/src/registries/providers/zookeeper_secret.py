"""A node of ZooKeeper that one user alone may read: ADDRESS NODE USER PASSWORD."""
import sys

from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

address, node, user, password = sys.argv[1:5]
client = KazooClient(hosts=address, timeout=4.0)
client.start()
client.ensure_path(node.rsplit("/", 1)[0])
client.create(node, b"", acl=[make_digest_acl(user, password, all=True)])
print("registered", flush=True)
sys.stdin.read()
