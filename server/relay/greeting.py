"""The relay's handshake: hellos in gRPC's metadata, before a silo is present to anybody.

Releases of before versions pass metadata over: one of them sends none, and sees none.
"""

from __future__ import annotations

import grpc

from common.errors import VersionError
from common.versions import METADATA, Hello, agree
from server.relay.exchange import LOG
from server.relay.metrics import RelayMetrics


async def greet(
    context: grpc.aio.ServicerContext[bytes, bytes], name: str, *, own: Hello, metrics: RelayMetrics
) -> tuple[Hello, int]:
    """The silo's hello, and the version of the relay's protocol to speak with it.

    The relay's own hello is sent in any case, so that a silo that is refused can say which side is older. The
    status code of the refusal is one for which a release of before versions has words.
    """
    await context.send_initial_metadata(((METADATA, own.text),))
    try:
        theirs = _told(context)
        return theirs, agree(own, theirs, ["relay"], we="the relay", they=name)["relay"]
    except VersionError as error:
        metrics.refused(name, "version")
        extra = {"event": "silo.refused", "silo": name, "reason": "version"}
        LOG.warning("refused %s: %s", name, error, extra=extra)
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        raise


def _told(context: grpc.aio.ServicerContext[bytes, bytes]) -> Hello:
    found = [value for key, value in context.invocation_metadata() or () if key == METADATA]
    if len(found) > 1:
        raise VersionError("two hellos at once", remedy="send one")
    text = found[0] if found else ""
    return Hello.from_text(text if isinstance(text, str) else text.decode("ascii", "replace"))
