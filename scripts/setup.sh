#!/usr/bin/env bash
# Installs what the project builds and runs with, and says what it installs.
# Safe to run again: what is already there is left alone.
set -euo pipefail

# Needed to build: libav headers, clang for the bindings, a C compiler and pkg-config.
# Needed to run: the ffmpeg program and a font for the demo's clip, pip and npm as download
# clients for model artifacts, curl for nothing but convenience in the docs' examples.
packages=(
  build-essential clang libclang-dev pkg-config
  ffmpeg libavcodec-dev libavformat-dev libavutil-dev libswscale-dev libswresample-dev
  libavfilter-dev libavdevice-dev
  fonts-dejavu-core ca-certificates
)
command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || packages+=(python3 python3-pip)
command -v npm >/dev/null || packages+=(npm)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done

if [ "${#missing[@]}" -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "setup: this machine has no apt-get; install the equivalents of: ${missing[*]}" >&2
    exit 1
  fi
  sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  echo "setup: installing Debian packages: ${missing[*]}"
  install_packages() {
    "${sudo[@]}" apt-get update -qq &&
      "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  }
  # One more try: a mirror that is being updated and a busy dpkg both pass by themselves.
  install_packages || { echo "setup: apt-get failed once, trying again"; sleep 5; install_packages; }
else
  echo "setup: Debian packages are all there"
fi

if ! command -v cargo >/dev/null; then
  echo "setup: no Rust toolchain; install rustup first (see https://rustup.rs)" >&2
  exit 1
fi
echo "setup: $(rustc --version), $(ffmpeg -hide_banner -version | head -n 1 | cut -d' ' -f1-3)"
