# Two stages: sources and build tools stay in the first.
FROM python:3.11-slim-bookworm AS builder
RUN python3 -m venv /opt/innerloop
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
# Third-party packages first, so that a change of our own code does not download them again.
RUN mkdir innerloop service \
 && touch innerloop/__init__.py service/__init__.py \
 && /opt/innerloop/bin/pip install --no-cache-dir --constraint constraints.txt '.[service,export]' \
 && /opt/innerloop/bin/pip uninstall --yes innerloop \
 && rm -rf build *.egg-info innerloop service
COPY innerloop innerloop
COPY service service
RUN /opt/innerloop/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --user-group --home-dir /data --no-create-home --shell /usr/sbin/nologin innerloop \
 && install --directory --owner innerloop --group innerloop /data
COPY --from=builder /opt/innerloop /opt/innerloop
COPY model_store /model_store
ENV PATH=/opt/innerloop/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    INNERLOOP_DATA_DIR=/data \
    INNERLOOP_MODEL_STORE=/model_store
USER innerloop
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
# SIGTERM: readiness falls, requests in flight are answered, then the process ends.
STOPSIGNAL SIGTERM
CMD ["innerloop", "serve", "--host", "0.0.0.0", "--port", "8000"]
