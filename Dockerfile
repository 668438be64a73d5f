# One image for the API (the entry point), the audit worker, and the commands `epr` and `epr-verify`; linux/amd64 and
# linux/arm64.
#
#   docker buildx build --platform linux/amd64,linux/arm64 .        or: scripts/build.sh
#
# The compiler runs on the builder's own platform and cross-compiles for the other one: no emulation. The final image
# contains only the files of scripts/image-root.sh; scripts/test-image.sh runs the same script and starts the result.
# Layers: toolchain, then dependencies (rebuilt only when Cargo.toml or Cargo.lock change), then EPR.

ARG RUST_VERSION=1.95
ARG NODE_VERSION=22
ARG DEBIAN=bookworm

# The script of the console, whose hash the build compares.
FROM --platform=$BUILDPLATFORM node:${NODE_VERSION}-${DEBIAN}-slim AS htmx
COPY runtimes/console/htmx.version /htmx.version
RUN npm install --silent --no-fund --no-audit --ignore-scripts --prefix /htmx "htmx.org@$(cut -d' ' -f1 /htmx.version)"

FROM --platform=$BUILDPLATFORM rust:${RUST_VERSION}-slim-${DEBIAN} AS chef
WORKDIR /src
RUN cargo install --quiet --locked --version 0.1.78 cargo-chef

FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path /recipe.json

FROM chef AS build
ARG TARGETARCH
COPY scripts/image-toolchain.sh scripts/image-toolchain.sh
RUN scripts/image-toolchain.sh "$TARGETARCH"
ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CC_x86_64_unknown_linux_gnu=x86_64-linux-gnu-gcc \
    CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
COPY --from=plan /recipe.json /recipe.json
RUN cargo chef cook --release --locked --target "$(cat /sysroot/rust-target)" --recipe-path /recipe.json \
    --package epr-api --package epr-audit-worker --package epr-cli
COPY . .
COPY --from=htmx /htmx/node_modules/htmx.org/dist/htmx.min.js /htmx.min.js
ENV HTMX_FILE=/htmx.min.js
RUN cargo build --release --locked --target "$(cat /sysroot/rust-target)" \
    --package epr-api --package epr-audit-worker --package epr-cli \
    && scripts/build-verify.sh --target "$(cat /sysroot/rust-target)" /epr-verify \
    && scripts/image-root.sh --sysroot /sysroot "target/$(cat /sysroot/rust-target)/release" /epr-verify /image

FROM scratch
COPY --from=build /image/ /
# Once more, by number, because not every builder preserves the owner of copied files.
COPY --from=build --chown=65532:65532 /image/app/ /app/
ENV PATH=/usr/local/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /app
# The only writable path, for the SQLite file if there is no PostgreSQL. A volume, so that it is writable when the root
# file system is read-only.
VOLUME ["/app/data"]
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["epr-api", "--health"]
ENTRYPOINT ["epr-api"]
