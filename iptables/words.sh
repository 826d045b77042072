# SPDX-License-Identifier: BSD-2-Clause
# words.sh: what the rules' parameters consist of, for common.sh and tunnel.sh. Not run by itself.

die() {
	echo "plait: $*" >&2
	exit 1
}

# check_devices WORD...: names of devices, of at most 15 characters.
check_devices() {
	for word; do
		case $word in
		*[!A-Za-z0-9_.-]* | -* | ????????????????*) die "'$word' is no device name" ;;
		esac
	done
}

# check_prefixes WORD...: addresses or prefixes, by their looks.
check_prefixes() {
	for word; do
		case $word in
		*[!0-9a-fA-F:./]*) die "'$word' is no address or prefix" ;;
		*:* | *.*) ;;
		*) die "'$word' is no address or prefix" ;;
		esac
	done
}

# check_numbers WORD...
check_numbers() {
	for word; do
		case $word in
		'' | *[!0-9]*) die "'$word' is no number" ;;
		esac
	done
}

# of_family 4|6 ADDRESS...: those of one family; other words are of none.
of_family() {
	family=$1
	shift
	for word; do
		case $family$word in
		4*:*) ;;
		4*.* | 6*:*) echo "$word" ;;
		esac
	done
}
