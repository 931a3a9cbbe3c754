#!/bin/bash
# Installs the Debian packages that are missing, and only those: with everything there it asks dpkg alone and needs
# neither the network nor root.
#   scripts/install-packages.sh [build|demo|test|bench]..    (build is always included)
set -eu

# Debian's torch is built against any BLAS; without libopenblas it runs on the slow reference one, and no comparison
# with it would be fair.
build="build-essential cmake ninja-build pkg-config git libdnnl-dev libopenmpi-dev openmpi-bin libsqlite3-dev sqlite3
       libyaml-dev libutf8proc-dev libpng-dev libjpeg-dev libsndfile1-dev"
demo="tuxpaint-stamps-default lomiri-wallpapers-16.04 mate-backgrounds"
test="libcmocka-dev iproute2 clang clang-format clang-tidy libclang-rt-14-dev"
bench="libopenblas0-openmp python3-torch python3-torchvision python3-numpy python3-matplotlib python3-pil"

wanted=$build
for set in "$@"; do
  case $set in
  build) ;;
  demo) wanted="$wanted $demo" ;;
  test) wanted="$wanted $test" ;;
  bench) wanted="$wanted $bench" ;;
  *) echo "install-packages.sh: there is no set '$set'; the sets are build, demo, test, bench" >&2; exit 2 ;;
  esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "install-packages.sh: this is not a Debian system; install the counterparts of:" $wanted >&2
  exit 1
fi

missing=
for p in $wanted; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
done
if [ -z "$missing" ]; then
  echo "packages: all $(echo $wanted | wc -w) are installed"
  exit 0
fi

echo "packages: installing$missing"
as_root=
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "install-packages.sh: packages are missing and this is neither root nor a system with sudo; as root, run:" >&2
    echo "  apt-get install --no-install-recommends$missing" >&2
    exit 1
  fi
  as_root="sudo"
fi
apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@"; }
apt update
apt install -y --no-install-recommends $missing
