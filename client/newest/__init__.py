"""The consortium's newest documents, as server/relay/newest.py hands them out: looked for, judged, installed."""
