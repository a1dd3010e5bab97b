# One image for the API, the workers and the migration.
#   BASE          any Debian with Python 3.11 or later
#   TORCH_INDEX   package index to take torch from: PyTorch's CPU index keeps the image small, a CUDA one serves GPUs;
#                 empty takes what the default index has
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
ARG TORCH_INDEX=
WORKDIR /src
RUN python3 -m venv /opt/cellgate
ENV PATH=/opt/cellgate/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY constraints.txt ./
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY pyproject.toml README.md ./
RUN mkdir app models migrations \
    && touch app/__init__.py models/__init__.py migrations/__init__.py \
    && pip install --constraint constraints.txt .[s3] \
    && pip uninstall --yes cellgate
COPY app app
COPY models models
COPY migrations migrations
RUN pip install --no-deps .

FROM ${BASE}
RUN groupadd --gid 10001 cellgate \
    && useradd --uid 10001 --gid cellgate --no-create-home --home-dir /var/lib/cellgate cellgate \
    && install -d -o cellgate -g cellgate /var/lib/cellgate
COPY --from=build /opt/cellgate /opt/cellgate
ENV PATH=/opt/cellgate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE \
    CELLGATE_HOME=/var/lib/cellgate \
    CELLGATE_HOST=0.0.0.0
WORKDIR /var/lib/cellgate
USER 10001:10001
VOLUME /var/lib/cellgate
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["cellgate"]
CMD ["serve"]
