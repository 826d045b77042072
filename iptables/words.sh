# SPDX-License-Identifier: BSD-2-Clause
# words.sh: what the rules' parameters consist of, for common.sh and tunnel.sh. Not run by itself.
#
# A home router takes some milliseconds for each process, so little is done by $(...): what makes a list leaves it in $words.

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

# of_family 4|6 ADDRESS...: $words are those of one family; other words are of none.
of_family() {
	family=$1 words=
	shift
	for word; do
		case $family$word in
		4*:*) ;;
		4*.* | 6*:*) words="$words $word" ;;
		esac
	done
}

# commas WORD...: $words are "a, b, c".
commas() {
	words=
	for word; do
		words="$words${words:+, }$word"
	done
}

# number_in FILE: $number is what stands in it. (The shell's own read would have the first digit of a kernel setting only.)
number_in() {
	number=$(cat "$1" 2>/dev/null)
}
