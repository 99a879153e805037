# docker build -t corrkd-bench .
# docker run --rm -v "$PWD/results:/home/results" corrkd-bench --grid smoke
FROM python:3.11-slim
ENV OMP_NUM_THREADS=1 \
    PYTHONUNBUFFERED=1
WORKDIR /opt/corrkd-benchmark
# The index has torch without its CUDA packages.
COPY requirements.lock ./
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu --requirement requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable .
WORKDIR /home
ENTRYPOINT ["corrkd-bench"]
CMD ["--help"]
