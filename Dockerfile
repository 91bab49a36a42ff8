# Two images from the same pinned requirements as on a developer's machine:
#   airflow     every Airflow component of docker-compose.yaml
#   local-aws   the local AWS with the algorithm's own environment
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --uid 50000 --gid 0 --create-home airflow && mkdir -p /project && chown airflow:0 /project
WORKDIR /project


FROM base AS airflow
COPY requirements-compose.txt ./
RUN python3 -m venv .venv && .venv/bin/pip install -q --no-deps -r requirements-compose.txt
ENV PATH=/project/.venv/bin:$PATH \
    PYTHONPATH=/project:/project/plugins \
    AIRFLOW_HOME=/home/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/project/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/project/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__LOGGING__BASE_LOG_FOLDER=/home/airflow/logs
RUN mkdir -p /home/airflow/logs && chown -R airflow:0 /home/airflow
COPY infrastructure/local-aws.config infrastructure/
COPY include include
COPY plugins plugins
COPY dags dags
USER airflow
ENTRYPOINT ["airflow"]


FROM base AS local-aws
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libgomp1 libquadmath0 && rm -rf /var/lib/apt/lists/*
COPY containers/image_classification/requirements.txt containers/image_classification/
RUN python3 -m venv .venv-mxnet && .venv-mxnet/bin/pip install -q --no-deps -r containers/image_classification/requirements.txt
COPY local_aws/requirements.txt local_aws/
RUN python3 -m venv .venv && .venv/bin/pip install -q --no-deps -r local_aws/requirements.txt
ENV PATH=/project/.venv/bin:$PATH
RUN mkdir -p /state && chown airflow:0 /state
COPY containers containers
COPY local_aws local_aws
COPY demo demo
USER airflow
VOLUME /state
EXPOSE 4566
ENTRYPOINT ["python", "-m", "local_aws", "--host", "0.0.0.0", "--port", "4566", "--state-dir", "/state"]
