# The service, the client and the library: slim, a numeric user, no web framework beyond the service's own.
# It writes to /var/lib/caveats alone: `docker run --read-only` works, and so does any other `--user`, if the volume is theirs.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY caveats caveats
COPY caveats_cli caveats_cli
COPY service service
COPY clients clients
RUN pip wheel --no-deps --wheel-dir /wheels . \
 && pip wheel --wheel-dir /wheels --constraint constraints.txt "/wheels/$(ls /wheels)[service,client]"

FROM python:3.11-slim
RUN groupadd --system --gid 10001 caveats \
 && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/caveats caveats \
 && install --directory --owner 10001 --group 10001 --mode 0755 /var/lib/caveats
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels "caveats[service,client]" && rm -r /wheels
# Numbers, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 10001:10001
WORKDIR /var/lib/caveats
VOLUME ["/var/lib/caveats"]
ENV CAVEATS_DATA_DIR=/var/lib/caveats/data CAVEATS_HOST=0.0.0.0 CAVEATS_PORT=8080 CAVEATS_LOG_JSON=true \
    PYTHONDONTWRITEBYTECODE=1
EXPOSE 8080
# Whether the process lives: a database that is away is no reason to replace it. Whether it can do all it is for is /readyz.
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s CMD ["python", "-m", "caveats_service.server.health"]
CMD ["caveats-service", "serve"]
