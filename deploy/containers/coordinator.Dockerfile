# The coordinator's image: the relay and the commands that lead runs, without weights and without keys.
#
#   deploy/containers/build coordinator
#
# BASE has no default on purpose: it is Debian with Python 3.11, pinned by the digest that the command above looked up
# and wrote into deploy/containers/.env. See deploy/README.md for a base made without a registry of images.
ARG BASE

FROM ${BASE} AS build
RUN python3.11 -m venv /usr/lib/phenofed
COPY requirements.lock /build/
# Where packages come from, and so which build of torch, may be told by a pip.conf that stays out of the image.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /usr/lib/phenofed/bin/pip install --no-cache-dir --requirement /build/requirements.lock
COPY pyproject.toml README.md LICENSE /build/
COPY common /build/common
COPY client /build/client
COPY server /build/server
COPY deploy /build/deploy
COPY simulations /build/simulations
RUN /usr/lib/phenofed/bin/pip install --no-cache-dir --no-deps --no-build-isolation /build

FROM ${BASE}
RUN groupadd --gid 10003 phenofed-relay \
 && useradd --uid 10003 --gid 10003 --no-create-home --shell /usr/sbin/nologin phenofed-relay
COPY --from=build /usr/lib/phenofed /usr/lib/phenofed
ENV PATH=/usr/lib/phenofed/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10003:10003
ENTRYPOINT ["phenofed"]
CMD ["coordinator", "--help"]
