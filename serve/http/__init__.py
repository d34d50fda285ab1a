"""The gateway's HTTP side: routes, authentication, proxying, errors."""
