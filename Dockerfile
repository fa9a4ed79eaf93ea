FROM python:3.13-slim-trixie AS build

# For a package index other than the public one. Set in this stage only, so the final image does not remember it.
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

COPY requirements/runtime.txt /tmp/
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: --requirement /tmp/runtime.txt


FROM python:3.13-slim-trixie

ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app/src PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=4000

RUN useradd --system --uid 10001 --no-create-home app
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY migrations migrations
COPY docs/openapi.json docs/openapi.json
COPY src src
# The processes may not write their own code, so it is compiled here.
RUN python -m compileall -q src

# By number, so that a platform can tell that it is not root.
USER 10001
STOPSIGNAL SIGTERM

# http.client, since urllib.request would send the call through an HTTP proxy that the environment names.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys;\
ready = http.client.HTTPConnection('127.0.0.1', os.environ['PORT'], timeout=2);\
ready.request('GET', '/health/ready');\
sys.exit(ready.getresponse().status != 200)"]

# One image for every process: python -m gateway|products|orders, and python -m ops for the operator.
CMD ["python", "-m", "gateway"]
