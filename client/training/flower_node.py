"""Flower's SuperNode as a process that ends when its work has: ``python -m client.training.flower_node ...``

Over a certificate that it cannot verify, Flower 1.41 ends its main thread and nothing else: a thread of its local
HTTP server keeps the process, which looks alive and serves nobody. Whoever started it would wait for ever.

And while the coordinator is away Flower doubles its pauses, up to 20 seconds, and the node sleeps on when
the coordinator has long been back. It asks each 3 seconds while all is well; it may as well do so here.
"""

from __future__ import annotations

import os
import sys
import traceback

INTERRUPTED, MOST_SECONDS = 130, 3


def main() -> None:
    """Run the SuperNode with this process's arguments; the process ends with it."""
    from flwr.supercore.retry import http_retry
    from flwr.supernode.cli import flower_supernode

    http_retry.MAX_RETRY_DELAY = MOST_SECONDS  # type: ignore[attr-defined]
    code = 1
    try:
        flower_supernode()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
