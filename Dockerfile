# The service and, with the same image, the downstream example: slim, non-root, nothing but the wheel.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY caveats caveats
COPY caveats_cli caveats_cli
COPY service service
COPY clients clients
RUN pip wheel --no-deps --wheel-dir /wheels . \
 && pip wheel --wheel-dir /wheels --constraint constraints.txt "/wheels/$(ls /wheels)[service,client,frameworks]"

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/caveats --create-home caveats
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels "caveats[service,client,frameworks]" && rm -r /wheels
USER caveats
WORKDIR /var/lib/caveats
ENV CAVEATS_DATA_DIR=/var/lib/caveats/data CAVEATS_HOST=0.0.0.0 CAVEATS_PORT=8080 CAVEATS_LOG_JSON=true
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
CMD ["caveats-service", "serve"]
