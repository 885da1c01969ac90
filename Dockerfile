# A pod for a machine with a CUDA driver. How to build and run it: docs/how-to/run-on-a-gpu-server.md

# Python 3.11 is what the pinned packages are tested with; the full image has the compiler that
# one of them needs.
FROM python:3.11-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/ourvidz-worker
RUN python3.11 -m venv .venv
COPY constraints.txt pyproject.toml README.md LICENSE NOTICE ./
COPY src src
COPY models/pocket models/pocket
RUN .venv/bin/pip install --constraint constraints.txt ".[cuda]" ./models/pocket \
    && .venv/bin/pip check

# torch brings CUDA's libraries with it; the base image brings what the driver asks for.
FROM nvidia/cuda:13.0.2-base-ubuntu24.04
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates libbz2-1.0 libffi8 liblzma5 libsqlite3-0 libssl3t64 libuuid1 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home ourvidz \
    && install --directory --owner ourvidz --mode 0700 /var/lib/ourvidz-worker
COPY --from=build /usr/local/bin/python3.11 /usr/local/bin/python3.11
COPY --from=build /usr/local/lib/libpython3.11.so.1.0 /usr/local/lib/libpython3.11.so.1.0
COPY --from=build /usr/local/lib/python3.11 /usr/local/lib/python3.11
RUN ldconfig
WORKDIR /opt/ourvidz-worker
COPY --from=build /opt/ourvidz-worker/.venv .venv
COPY startup.sh LICENSE NOTICE ./

ENV PATH="/opt/ourvidz-worker/.venv/bin:${PATH}" \
    PYTHONUNBUFFERED=1 \
    STATE_DIR=/var/lib/ourvidz-worker
USER ourvidz
VOLUME /var/lib/ourvidz-worker
EXPOSE 7860 7861
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python3.11", "-c", "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ.get('WORKER_PORT', '7860') + '/health', timeout=4)"]
ENTRYPOINT ["./startup.sh"]
