# The hospital's image: the agent and its Flower node, as two users, without weights and without data.
#
#   deploy/containers/build silo
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
RUN groupadd --gid 10001 phenofed && groupadd --gid 10002 phenofed-node \
 && useradd --uid 10001 --gid 10001 --groups 10002 --no-create-home --shell /usr/sbin/nologin phenofed \
 && useradd --uid 10002 --gid 10002 --no-create-home --shell /usr/sbin/nologin phenofed-node
COPY --from=build /usr/lib/phenofed /usr/lib/phenofed
ENV PATH=/usr/lib/phenofed/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
ENTRYPOINT ["phenofed"]
CMD ["silo", "--help"]
