# The hospital's image: the agent and its Flower node, as two users, without weights and without data.
#
#   docker build --file deploy/containers/silo.Dockerfile --tag phenofed-silo:0.1.0 .
#
# The base is pinned by digest, so that a build next year is the build of today. The digest of zeros is a placeholder,
# on purpose invalid: look the current one up, check it, and put it here or give it by --build-arg BASE=...
#   docker buildx imagetools inspect python:3.11-slim-bookworm
ARG BASE=python:3.11-slim-bookworm@sha256:0000000000000000000000000000000000000000000000000000000000000000

FROM ${BASE} AS build
RUN python -m venv /usr/lib/phenofed
COPY requirements.lock /build/
RUN /usr/lib/phenofed/bin/pip install --no-cache-dir --requirement /build/requirements.lock
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
