# The coordinator's image: the relay and the commands that lead runs, without weights and without keys.
#
#   docker build --file deploy/containers/coordinator.Dockerfile --tag phenofed-coordinator:0.1.0 .
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
RUN groupadd --gid 10003 phenofed-relay \
 && useradd --uid 10003 --gid 10003 --no-create-home --shell /usr/sbin/nologin phenofed-relay
COPY --from=build /usr/lib/phenofed /usr/lib/phenofed
ENV PATH=/usr/lib/phenofed/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10003:10003
ENTRYPOINT ["phenofed"]
CMD ["coordinator", "--help"]
