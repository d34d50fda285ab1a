"""On one machine, Serve's own servers listen on loopback like everything else."""

from ipaddress import ip_address

import ray
from ray.serve._private import replica


def listen_privately() -> None:
    """On a node of loopback, this process's server for other replicas listens there, too.

    Serve binds it to all addresses, it asks for no token, and it unpickles what it is sent.
    """
    if not ip_address(ray.util.get_node_ip_address()).is_loopback:
        return
    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", "127.0.0.1"))
