# The image of the web processes, of the Celery worker and of every command of manage.py, with all engines that need no
# GPU. From the top of the repository:
#
#   docker build --file docker/web.Dockerfile --tag client-caller-web .
#
# Its packages are those of requirements/locks/ and nothing else: `make locks` writes these files. `make image-check`
# runs every step of this file without a container engine.

FROM python:3.11.14-slim-bookworm AS packages
COPY requirements/locks/ /locks/
RUN python -m venv /venv
# One package (docopt) has no wheel. It is built with the setuptools of the lock, not with one that pip would fetch.
RUN /venv/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: -r /locks/build.txt
RUN /venv/bin/python -m pip install --no-cache-dir --require-hashes --no-build-isolation \
    --only-binary :all: --no-binary docopt -r /locks/web.txt
RUN /venv/bin/python -m pip install --no-cache-dir --require-hashes --no-deps \
    --only-binary :all: -r /locks/no-deps.txt

FROM python:3.11.14-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp clientcaller \
    && install --directory --owner clientcaller --group clientcaller /data /models
COPY --from=packages /venv /venv
COPY manage.py /app/
COPY clientcaller/ /app/clientcaller/
COPY calls/ /app/calls/
COPY media/ /app/media/
COPY inference/ /app/inference/
WORKDIR /app
# The file system is read-only when it runs, so that the modules are compiled and the static files collected now.
RUN /venv/bin/python -m compileall -q /app
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DEBUG=0 \
    VAR_DIR=/data \
    STATIC_DIR=/app/static \
    MODELS_FOLDER=/models
RUN SECRET_KEY=of-this-step-only python manage.py collectstatic --noinput --verbosity 0
USER 10001:10001
VOLUME ["/data", "/models"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=2m --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "clientcaller.web.server", "--host", "0.0.0.0", "--port", "8000"]
