# One image, Stripe and tracing included, for web, relay, worker, beat and release: the command chooses, see the Procfile.
FROM python:3.11.14-slim-bookworm AS base

FROM base AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/stripe.txt requirements/otel.txt /tmp/
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --only-binary :all: --require-hashes --requirement /tmp/stripe.txt --requirement /tmp/otel.txt

FROM base
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN groupadd --gid 10001 service && useradd --uid 10001 --gid service --no-create-home --shell /usr/sbin/nologin service
COPY --from=packages /opt/venv /opt/venv
WORKDIR /srv
COPY wsgi.py ./
COPY deploy/*.py deploy/
COPY migrations migrations
COPY tasks tasks
COPY app app
USER 10001:10001
EXPOSE 3003
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["python", "deploy/healthcheck.py"]
CMD ["gunicorn", "-c", "deploy/gunicorn.conf.py", "wsgi:app"]
