# The image of a GPU worker: Whisper (KIND=stt) or CSM (KIND=tts). Their packages conflict, so that each has its own.
# From the top of the repository:
#
#   docker build --file docker/speech.Dockerfile --build-arg KIND=stt --tag client-caller-stt .
#
# CUDA comes with the packages of requirements/locks/, the driver from the machine (NVIDIA's container toolkit).
# `make image-check` runs every step of this file without a container engine.

FROM python:3.11.14-slim-bookworm AS packages
ARG KIND
COPY requirements/locks/ /locks/
RUN python -m venv /venv
RUN /venv/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: -r "/locks/${KIND}.txt"

FROM python:3.11.14-slim-bookworm
ARG KIND
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp clientcaller \
    && install --directory --owner clientcaller --group clientcaller /data /models /voices
COPY --from=packages /venv /venv
COPY manage.py /app/
COPY clientcaller/ /app/clientcaller/
COPY calls/ /app/calls/
COPY media/ /app/media/
COPY inference/ /app/inference/
WORKDIR /app
RUN /venv/bin/python -m compileall -q /app
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=clientcaller.pod \
    ENGINES_PROFILE=gpu \
    KIND=${KIND} \
    VAR_DIR=/data \
    MODELS_FOLDER=/models \
    HF_HOME=/models/hub \
    CSM_VOICES=/voices \
    CUDA_CACHE_PATH=/models/cuda-cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
VOLUME ["/models", "/voices"]
# The worker touches the file every five seconds once its engine is loaded.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 \
    CMD ["python", "-c", "import os, time; assert time.time() - os.path.getmtime('/tmp/alive') < 15"]
CMD ["sh", "-c", "exec python manage.py runworker \"$KIND\" --alive /tmp/alive"]
