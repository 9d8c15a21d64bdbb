"""The driver of `benches/run`: scenarios as data, contenders as programs, results as JSON, Markdown and pictures.

Read `scenarios` (what is to be measured), `measure` (how it is run), `record` (what is kept), then `told` and
`pictures` (how it is shown). It measures nothing itself: each number comes from a program of its own.
"""
