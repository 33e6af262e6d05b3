"""The firewall request: what hospital IT hands to its network team, as text."""

from __future__ import annotations

from client.preflight.site import Site

_TEXT = """\
Firewall request for phenofed at {title}

One outbound connection. Nothing listens on our side: please open no inbound port.

  direction    outbound only
  from         the machine that runs the phenofed agent
  to           {host}
  protocol     TCP port {port}, TLS 1.2 or 1.3 with certificates on both sides (gRPC over HTTP/2)
  duration     one connection that stays open; a heartbeat every 20 s
  through      {way}

The connection must not be opened on its way (no TLS inspection): each end accepts only certificates that the
consortium's own root issued. The relay's key, as SHA-256 of its SubjectPublicKeyInfo (RFC 7469):
  {pin}
The root, as SHA-256 of its certificate:
  {root}

What passes: ciphertexts, signed messages and public keys. No photograph and no patient's name leaves the hospital.
Asked for by {contact} of the consortium {consortium}.
"""


def firewall_request(site: Site) -> str:
    """The text.

    Raises:
        AgentError: the silo has not joined.
    """
    host, port = site.relay
    roster, proxy = site.roster, site.policy.relay.proxy
    own = roster.member(site.workspace.name)
    return _TEXT.format(
        title=own.title or own.name,
        host=host,
        port=port,
        way=f"the HTTP proxy {proxy}, which must allow CONNECT to {host}:{port}" if proxy else "no proxy",
        pin=roster.relay_tls,
        root=roster.ca,
        contact=own.contact,
        consortium=roster.consortium,
    )
