#!/usr/bin/env bash
# Functions that build Rust crates with rustc alone. For a shell that sets, before it sources this:
#   repository   the top of this repository; its Cargo.lock says which version of a package, and its checksum
#   build        where sources and libraries go
# RUSTC and CARGO_HOME are respected when set.

: "${repository:?}" "${build:?}"
rustc=${RUSTC:-rustc}
sources=$build/sources
libraries=$build/lib
mkdir -p "$sources" "$libraries"

fail() {
    echo "error: $*" >&2
    exit 1
}

# What Cargo.lock says of a package: "version checksum". $2 is the major version, for a package that is there twice.
locked() {
    awk -v wanted="$1" -v major="${2:-}" '
        BEGIN { RS = ""; FS = "\n" }
        {
            name = version = checksum = ""
            for (i = 1; i <= NF; i++) {
                split($i, part, "\"")
                if ($i ~ /^name = /) name = part[2]
                if ($i ~ /^version = /) version = part[2]
                if ($i ~ /^checksum = /) checksum = part[2]
            }
            if (name == wanted && checksum != "" && (major == "" || index(version, major ".") == 1))
                print version, checksum
        }' "$repository/Cargo.lock"
}

# Prints the file of a package: from cargo's cache if it is there, otherwise from crates.io.
package_file() {
    local file=$1-$2.crate cached
    for cached in "${CARGO_HOME:-$HOME/.cargo}"/registry/cache/*/"$file"; do
        if [ -f "$cached" ]; then
            echo "$cached"
            return
        fi
    done
    if [ ! -f "$sources/$file" ]; then
        echo "   fetching $file" >&2
        curl --fail --silent --show-error --location --retry 3 --output "$sources/$file.part" \
            "https://static.crates.io/crates/$1/$file" \
            || fail "$file is neither in cargo's cache nor to be had from crates.io"
        mv "$sources/$file.part" "$sources/$file"
    fi
    echo "$sources/$file"
}

# Prints the folder with the source of a package, whose checksum is what Cargo.lock says.
package_source() {
    local name=$1 found version checksum file
    found=$(locked "$name" "${2:-}")
    [ "$(printf '%s\n' "$found" | grep -c .)" = 1 ] || fail "Cargo.lock has not one ${name}, but: ${found:-none}"
    version=${found% *}
    checksum=${found#* }
    if [ ! -d "$sources/$name-$version" ]; then
        file=$(package_file "$name" "$version") || exit
        echo "$checksum  $file" | sha256sum --check --status || fail "$file is not what Cargo.lock says"
        tar -xzf "$file" -C "$sources"
    fi
    echo "$sources/$name-$version"
}

# Variables that cargo sets for a package's build script and its macros.
package_variables() {
    local version=${1##*-} rest
    version=${version%%+*}
    rest=${version#*.}
    echo "CARGO_MANIFEST_DIR=$1"
    echo "CARGO_PKG_VERSION=$version"
    echo "CARGO_PKG_VERSION_MAJOR=${version%%.*}"
    echo "CARGO_PKG_VERSION_MINOR=${rest%%.*}"
    echo "CARGO_PKG_VERSION_PATCH=${rest#*.}"
}

# Runs the build script of a package, if it has one, and prints the arguments to rustc that it wants, one a line.
build_script() {
    local source=$1 name=$2 out=$build/out/$2
    shift 2
    [ -f "$source/build.rs" ] || return 0
    mkdir -p "$out"
    "$rustc" --edition 2021 --cap-lints allow --crate-name build_script "$@" "$source/build.rs" -o "$out/build-script" \
        || fail "the build script of $name does not compile"
    (
        cd "$source" || exit
        mapfile -t variables < <(package_variables "$source")
        env "${variables[@]}" OUT_DIR="$out" RUSTC="$rustc" TARGET="$target" HOST="$target" "$out/build-script"
    ) > "$out/said" || fail "the build script of $name fails"
    sed -n \
        -e 's/^cargo::\{0,1\}rustc-cfg=\(.*\)/--cfg\n\1/p' \
        -e 's/^cargo::\{0,1\}rustc-check-cfg=\(.*\)/--check-cfg\n\1/p' "$out/said"
}

target=$("$rustc" --version --verbose | sed -n 's/^host: //p')

# Compiles a package of the registry: package NAME[@MAJOR] TYPE [--cfg feature="…"] [--extern …] …
package() {
    local name=${1%@*} major='' type=$2 source script
    case $1 in *@*) major=${1#*@} ;; esac
    shift 2
    echo "   $name" >&2
    source=$(package_source "$name" "$major") || exit
    mapfile -t script < <(build_script "$source" "$name" "$@")
    # `Cargo.toml` as published spells the edition out.
    local edition
    edition=$(sed -n 's/^edition = "\(.*\)"/\1/p' "$source/Cargo.toml" | head -n 1)
    mapfile -t variables < <(package_variables "$source")
    env "${variables[@]}" OUT_DIR="$build/out/$name" \
        "$rustc" --crate-name "${name//-/_}" --crate-type "$type" --edition "${edition:-2015}" -O --cap-lints allow \
        -L "$libraries" --out-dir "$libraries" "${script[@]}" "$@" "$source/src/lib.rs" \
        || fail "$name does not compile"
}

# Compiles a crate of this repository: own FOLDER NAME TYPE [--cfg feature="…"] [--extern …] …
own() {
    local folder=$repository/$1 name=$2 type=$3
    shift 3
    echo "   $name" >&2
    CARGO_MANIFEST_DIR=$folder CARGO_PKG_VERSION=0.1.0 \
        "$rustc" --crate-name "$name" --crate-type "$type" --edition 2024 -O \
        -L "$libraries" --out-dir "$libraries" "$@" "$folder/src/lib.rs" \
        || fail "$name does not compile"
}
