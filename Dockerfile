# The service as an image: docker build -t reportgen .
# tests/end_to_end/test_image.py carries these steps out without Docker; `make lint` reads them with hadolint.

FROM python:3.13-slim AS builder

# The environment is made where it will be used: its scripts hold their own path.
ENV UV_PROJECT_ENVIRONMENT=/app/.venv \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy
# Not below /app: `python -m` would import what stands in the working directory, not what is installed.
WORKDIR /src

# The version that the Makefile names, too.
RUN python -m pip install --no-cache-dir --root-user-action=ignore uv==0.13.9

# Dependencies change seldom and have a layer of their own. Wheels only: there is no compiler, and none is needed.
COPY pyproject.toml uv.lock ./
# uv.lock holds the counter too, which is not installed.
COPY counter/pyproject.toml counter/
RUN uv sync --locked --no-dev --extra s3 --no-install-project --no-build --compile-bytecode

COPY README.md LICENSE hatch_build.py ./
COPY reportgen reportgen/
COPY templates templates/
# The charts' script takes more memory to make than a small machine has, so it is made here.
RUN uv sync --locked --no-dev --extra s3 --no-editable --compile-bytecode \
 && /app/.venv/bin/python -P -m reportgen.charts.vega_bundle

# 66 MB that nothing here reads: tests of libraries, files for compilers and type checkers, and the languages that
# Pygments highlights, which Rich would need for tracebacks in colour.
RUN find /app/.venv -type d \( -name test -o -name tests \) -prune -exec rm -r {} + \
 && find /app/.venv -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.h' -o -name '*.a' \) -delete \
 && find /app/.venv -type f -path '*/pygments/lexers/*' ! -name '__init__.*' ! -name '_mapping.*' -delete


FROM python:3.13-slim

# The base image comes without the standard library's bytecode, and who runs here cannot write it: every
# process would compile it again, half a second of CPU each time. What is left out is not imported.
RUN python -m compileall -q -x '/(test|tests|ensurepip|idlelib|pydoc_data|site-packages|tkinter|turtledemo)/' \
      "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && groupadd --gid 10001 reportgen \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /app \
      --shell /usr/sbin/nologin reportgen \
 && install -d -o reportgen -g reportgen /app/output

COPY --chmod=0755 deploy/reportgen /usr/local/bin/reportgen
COPY --from=builder /app/.venv /app/.venv
WORKDIR /app
# Settings, if there are any beside this file. Not secrets: they come with the environment.
COPY --chmod=0644 LICENSE reportgen.tom[l] ./

ENV REPORTGEN_OUTPUT__DIR=/app/output \
    REPORTGEN_SERVER__HOST=0.0.0.0 \
    REPORTGEN_SERVER__PORT=8080 \
    REPORTGEN_LOG=json

VOLUME /app/output
EXPOSE 8080
# Fly gives a volume to the user named here whenever it mounts it, so nothing has to start as root.
USER 10001:10001

HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["/app/.venv/bin/python", "-c", "import http.client, os, sys; server = http.client.HTTPConnection('127.0.0.1', int(os.environ['REPORTGEN_SERVER__PORT']), timeout=4); server.request('GET', '/healthz'); sys.exit(server.getresponse().status != 200)"]

ENTRYPOINT ["reportgen"]
CMD ["serve"]
