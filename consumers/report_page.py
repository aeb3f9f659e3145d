"""The frame of the report: markup and style, with `$name` where `consumers.report` puts its parts."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root {
  --page: #f6f7f9; --card: #ffffff; --ink: #1b2230; --muted: #667085; --grid: #e4e7ec;
  --arrival: #3b5bdb; --served: #c2680a; --popularity: #8a93a3; --rise: #2b8a5b; --fall: #c05265;
  --font: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12151b; --card: #1a1f28; --ink: #e6e9ef; --muted: #98a2b3; --grid: #2c3340;
    --arrival: #8da2fb; --served: #f0a24a; --popularity: #7d8797; --rise: #5cc596; --fall: #e58a9a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 var(--font); }
main { max-width: 1080px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 4px; }
h2 { font-size: 18px; letter-spacing: -.01em; margin: 0 0 2px; }
.lead, .note, footer { color: var(--muted); margin: 0 0 14px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(178px, 1fr)); gap: 12px; margin: 26px 0; }
.tile, section { background: var(--card); border: 1px solid var(--grid); border-radius: 12px; }
.tile { padding: 14px 16px; border-top: 3px solid var(--grid); }
.tile b { display: block; font-size: 28px; line-height: 1.2; letter-spacing: -.02em; }
.tile span { display: block; font-size: 14px; }
.tile small { color: var(--muted); }
.tile.arrival { border-top-color: var(--arrival); } .tile.arrival b { color: var(--arrival); }
.tile.served { border-top-color: var(--served); } .tile.served b { color: var(--served); }
.tile.popularity { border-top-color: var(--popularity); }
section { padding: 20px 22px; margin: 0 0 16px; overflow-x: auto; }
section h2:not(:first-child) { margin-top: 28px; }
figure { margin: 0; min-width: 640px; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: var(--font) !important; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--muted); }
th, td { padding: 8px 12px 8px 0; border-bottom: 1px solid var(--grid); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
.n { text-align: right; padding-right: 0; padding-left: 12px; }
td:first-child { white-space: nowrap; }
.pairs { color: var(--muted); font-size: 12.5px; display: flex; flex-wrap: wrap; gap: 0 12px; }
.pairs b { font-weight: 500; color: var(--ink); }
.badge { border-radius: 99px; padding: 1px 9px; font-size: 12.5px; border: 1px solid; white-space: nowrap; }
.badge.live { color: var(--rise); } .badge.refused { color: var(--muted); } .badge.shadow { color: var(--served); }
.arrival-ink { color: var(--arrival); } .served-ink { color: var(--served); }
.popularity-ink { color: var(--popularity); }
.rise { color: var(--rise); } .fall { color: var(--fall); }
.arrival-ink, .served-ink, .popularity-ink, .rise, .fall { font-weight: 600; }
details summary { cursor: pointer; color: var(--muted); }
td details summary { font-size: 12.5px; }
td details[open] summary { color: var(--grid); }
details table { max-width: 460px; margin-top: 8px; }
</style>
<main>
<h1>$title</h1>
<p class="lead">$lead</p>
<div class="tiles">$tiles</div>
<section>
<h2>Hit rate at 10 over event time</h2>
<p class="note">Share of consumed items that were among the first ten: <span class="arrival-ink">on arrival</span>,
ranked with everything known when they came; <span class="served-ink">served</span>, in the list that lay on the topic;
<span class="popularity-ink">popularity</span>, decayed, on arrival. Dashed lines: a version goes live. Circles: a
candidate was not taken.</p>
<figure>$curves</figure>
</section>
<section>
<h2>Users whose interests moved, per day</h2>
<p class="note">Alarms of the detectors of single users.</p>
<figure>$alarms</figure>
$segments
$told
</section>
<section>
<h2>Trainings</h2>
<p class="note">Each candidate is tried on events that it was not trained on, next to the model that serves.</p>
$trainings
$rulings
</section>
<section><details><summary>All figures</summary>$figures</details></section>
<footer>Every event is predicted before it is learned. Hits are counted among all candidates; there are no sampled
negatives.</footer>
</main>
</html>
"""
