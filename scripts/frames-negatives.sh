#!/usr/bin/env bash
# Collects pictures of other things for training heads (novastream-train frames): photographs, screens
# and drawings from Debian's packages of desktop backgrounds and of OpenCV's documentation. Playing
# cards among them are left out, and so is one well-known portrait.
#
#   scripts/frames-negatives.sh FOLDER     # FOLDER/other/*.jpg|png
set -euo pipefail

out=${1:?usage: frames-negatives.sh FOLDER}
packages=(gnome-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds opencv-doc ukui-wallpapers)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download "${packages[@]}"
for package in *.deb; do
  dpkg -x "$package" "$work/files"
done
cd - >/dev/null
mkdir -p "$out/other"
# Small files are icons; names are hashes, so that the same picture is there once.
find "$work/files" -type f -size +15k \( -iname '*.jpg' -o -iname '*.jpeg' -o -iname '*.png' \) \
  ! -iname '*card*' ! -iname '*lena*' -print0 |
  while IFS= read -r -d '' file; do
    extension=${file##*.}
    cp "$file" "$out/other/$(sha256sum "$file" | cut -c1-20).${extension,,}"
  done
echo "$(find "$out/other" -type f | wc -l) pictures in $out/other"
