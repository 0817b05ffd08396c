# The image of the model server. It is vLLM's own image, which has the compilers that its kernels need when they are
# built at the first start, with the flags that a telephone call needs (docker/vllm/serve) and without root.
# From the top of the repository:
#
#   docker build --file docker/llm.Dockerfile --tag client-caller-llm .

FROM vllm/vllm-openai:v0.33.0
COPY docker/vllm/serve /usr/local/bin/serve-llm
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp clientcaller \
    && install --directory --owner clientcaller --group clientcaller /models
ENV HOME=/tmp \
    HF_HOME=/models/hub \
    VLLM_CACHE_ROOT=/models/vllm-cache \
    TRITON_CACHE_DIR=/models/vllm-cache/triton \
    TORCHINDUCTOR_CACHE_DIR=/models/vllm-cache/inductor \
    FLASHINFER_WORKSPACE_BASE=/models/vllm-cache \
    CUDA_CACHE_PATH=/models/cuda-cache
USER 10001:10001
VOLUME ["/models"]
EXPOSE 8100
# The first start fetches the weights.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8100/health', timeout=4)"]
ENTRYPOINT ["serve-llm"]
CMD ["80", "--host", "0.0.0.0"]
