"""Long runs: from a plan to a folder of Parquet shards, whatever happens in the night.

A run is a folder. Shard ``k`` is the indices ``[k S, (k + 1) S)``; what index ``i`` gives depends on the plan alone, so
anybody may draw a shard again and gets the same bytes. ``plan`` says what, ``worker`` draws a shard into a draft,
``local`` and ``cluster`` are where workers live, ``run`` commits drafts in order, ``distinct`` knows every key so far,
and ``library`` is the folder and what can be asked of it.
"""
