#!/usr/bin/env python3
"""Names that are near to what a person typed. near.py WORDS: whole names of stdin, one a line, that have these words or ones like
them, the nearest first. near.py --one WORD NAME...: the one name that WORD may be meant for."""
import difflib, re, sys


def words(text):
    return [w for w in re.findall(r"[a-z0-9_]+", text.lower()) if len(w) > 2]


def near(asked, names):
    vocabulary = sorted({w for name in names for w in words(name)})
    score = {}
    for word in words(asked):
        alike = difflib.get_close_matches(word, vocabulary, n=4, cutoff=0.7) + [v for v in vocabulary if word in v]
        for name in names:
            own = [difflib.SequenceMatcher(None, word, w).ratio() for w in words(name) if w in alike]
            score[name] = score.get(name, 0) + max(own, default=0)
    return [name for name in sorted(score, key=lambda n: -score[n]) if score[name] > 0]


def main():
    if sys.argv[1] == "--one":
        print("".join(difflib.get_close_matches(sys.argv[2], sys.argv[3:], n=1, cutoff=0.5)))
    else:
        names = list(dict.fromkeys(line.strip() for line in sys.stdin if line.strip()))
        print("\n".join(near(" ".join(sys.argv[1:]), names)[:8]))


main()
