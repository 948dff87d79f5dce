#!/bin/sh
# Makes a root file system of Debian packages and of all that they depend on: their files, without dpkg, apt, perl, a
# package's scripts or any setuid. What is there is written to var/lib/dpkg/status.d, where scanners look for it.
#   rootfs.sh FOLDER PACKAGE… [-- PACKAGE-THAT-IS-LEFT-OUT…]
# The packages' versions are those of the snapshot SNAPSHOT of Debian's archive (20260918T000000Z) and of what the folder
# SOURCES names beside it, or with an empty SNAPSHOT those of apt's own sources. Times are SOURCE_DATE_EPOCH's.
set -eu
root=$1
shift
wanted=
while [ $# -gt 0 ] && [ "$1" != -- ]; do wanted="$wanted $1"; shift; done
# Only packages' scripts use these, or people at a prompt; none of them runs here.
left_out=" adduser debconf dpkg gcc-14-base git-man init-system-helpers install-info liberror-perl libperl5.40 mawk
 media-types netbase openssl passwd perl perl-base perl-modules-5.40 readline-common sensible-utils tar tzdata $* "

work=$(mktemp -d)
mkdir -p "$work/archives/partial" "$root/var/lib/dpkg/status.d"
touch "$work/status"
if [ -n "${SNAPSHOT:-}" ]; then
  for part in "debian trixie main" "debian trixie-updates main" "debian-security trixie-security main"; do
    set -- $part
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no]" \
      "http://snapshot.debian.org/archive/$1/$SNAPSHOT $2 $3"
  done > "$work/sources.list"
  set -- -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts="${SOURCES:-/dev/null}"
else
  set --
fi
set -- "$@" -q -o Dir::Cache::archives="$work/archives" -o APT::Install-Recommends=false -o APT::Sandbox::User=root \
  -o APT::Keep-Downloaded-Packages=true -o Acquire::Retries=3
apt-get "$@" update
# As for an empty system: what this one has doesn't count.
# shellcheck disable=SC2086
apt-get "$@" -o Dir::State::status="$work/status" install --yes --download-only $wanted

unpack() {
  dpkg-deb --fsys-tarfile "$1" | tar --extract --directory "$root" --no-same-owner --keep-directory-symlink \
    --exclude './usr/share/man/*' --exclude './usr/share/info/*' --exclude './usr/share/locale/*' \
    --exclude './usr/share/lintian/*' --exclude './usr/share/bug/*' --exclude './usr/share/doc-base/*' \
    --exclude './usr/share/bash-completion/*' --exclude './usr/share/applications/*' --exclude './usr/share/pixmaps/*' \
    --exclude './usr/share/git-core/contrib*' --exclude './usr/share/gitweb*' --exclude './etc/init.d*'
}
# It brings the links /bin, /lib, /sbin, which others' files go through.
unpack "$work"/archives/base-files_*.deb
for archive in "$work"/archives/*.deb; do
  name=$(dpkg-deb --field "$archive" Package)
  case "$wanted " in *[[:space:]]"$name"[[:space:]]*) left= ;; *) left=$left_out ;; esac
  case "$left" in *[[:space:]]"$name"[[:space:]]*) continue ;; esac
  unpack "$archive"
  dpkg-deb --field "$archive" > "$root/var/lib/dpkg/status.d/$name"
done
rm -rf "$work"

# Of the documentation the licences stay.
find "$root/usr/share/doc" ! -type d ! -name copyright -delete
find "$root/usr/share/doc" -mindepth 1 -type d -empty -delete
find "$root" -xdev -perm /6000 -exec chmod a-s {} +
rm -rf "$root/var/cache" "$root/var/log" "$root/var/backups" "$root/var/lock" "$root/etc/alternatives"
# Tables of character sets, and of git what serves, mails or is there twice: a copy into an image parts hard links.
rm -rf "$root"/usr/lib/*-linux-gnu/gconv
for name in git git-shell scalar git-daemon git-imap-send git-http-push git-http-fetch; do
  rm -f "$root/usr/lib/git-core/$name"
done
rm -f "$root/usr/bin/git-shell" "$root/usr/bin/scalar"
[ ! -e "$root/usr/bin/git" ] || ln -s ../../bin/git "$root/usr/lib/git-core/git"
if [ -d "$root/usr/share/ca-certificates" ]; then
  mkdir -p "$root/etc/ssl/certs"
  find "$root/usr/share/ca-certificates" -name '*.crt' | LC_ALL=C sort | xargs cat > "$root/etc/ssl/certs/ca-certificates.crt"
fi
{
  echo 'root:x:0:0:root:/root:/usr/sbin/nologin'
  echo 'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin'
  echo 'homeport:x:65532:65532:homeport:/tmp:/usr/sbin/nologin'
} > "$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\nhomeport:x:65532:\n' > "$root/etc/group"
mkdir -p "$root/tmp" "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/var/tmp"
chmod 1777 "$root/tmp" "$root/var/tmp"
find "$root" -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH:-0}" {} +
