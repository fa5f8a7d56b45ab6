"""One HTML page that needs nothing else: its style, its sorting of tables, and the pieces it is made of."""

import base64
import html

import cv2

STYLE = """
:root { color-scheme: light dark; --ink: #1b1d21; --pale: #5c6470; --paper: #fff; --card: #f4f6f8; --line: #d5dae0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --pale: #a4adb8; --paper: #15181c; --card: #1f242a; --line: #3a424c; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 16px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: .4em 0 0; } h2 { margin: 2em 0 .4em; border-bottom: 2px solid var(--line); }
h3 { margin: 1.4em 0 .3em; } p, li { max-width: 75ch; } .pale, figcaption { color: var(--pale); }
nav a { margin-right: 1em; white-space: nowrap; } a { color: inherit; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 12px; margin: 1em 0; }
.tile { background: var(--card); border-radius: 8px; padding: 10px 14px; }
.tile b { font-size: 1.6rem; display: block; }
.wide { overflow-x: auto; margin: .6em 0; } table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: 3px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid #0072b2; }
th[aria-sort=ascending] button::after { content: " \\25b2"; }
th[aria-sort=descending] button::after { content: " \\25bc"; }
figure { margin: .8em 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 18px; }
.charts figure { min-width: 0; } svg { width: 100%; max-width: 760px; height: auto; }
.legend svg { width: auto; } svg text { fill: var(--ink); font-size: 13px; }
svg .grid { stroke: var(--line); stroke-width: 1; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: .88rem; }
.multiples { display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 4px 14px; }
.multiples figure { margin: 0; font-size: .8rem; }
.multiples svg { width: 100%; } svg rect:not([fill]) { fill: var(--pale); }
.panels { overflow-x: auto; } .panels img { max-width: none; height: auto; width: 100%; min-width: 640px; }
.faces { display: flex; flex-wrap: wrap; gap: 8px; } .faces figure { margin: 0; width: 96px; font-size: .75rem; }
.faces img { width: 96px; height: 96px; border-radius: 4px; display: block; } details summary { cursor: pointer; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; } dt { color: var(--pale); }
dd { margin: 0; }
@media (max-width: 600px) { dl { display: block; } dd { margin-bottom: .5em; } body { padding: 12px; } }
"""

SORT = """
document.querySelectorAll("table.sortable th").forEach((head, column) => {
  const table = head.closest("table"), body = table.tBodies[0];
  column = [...head.parentNode.children].indexOf(head);
  head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => { const text = row.children[column].textContent, n = parseFloat(text);
      return isNaN(n) ? text : n; };
    const order = (a, b) => { const x = value(a), y = value(b);
      return typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)); };
    [...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)).forEach(row => body.append(row));
  });
});
"""


def page(title, lead, sections):
    """The whole document. title, lead: text; sections: dict heading -> HTML, left out where it is empty."""
    sections = {heading: body for heading, body in sections.items() if body}
    links = " ".join(f'<a href="#s{number}">{html.escape(name)}</a>' for number, name in enumerate(sections))
    parts = "".join(
        f'<section id="s{number}"><h2>{html.escape(name)}</h2>{body}</section>'
        for number, (name, body) in enumerate(sections.items())
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{html.escape(title)}</h1><p class=pale>{html.escape(lead)}</p><nav>{links}</nav>{parts}"
        f"<script>{SORT}</script></body></html>\n"
    )


def cell(value):
    """A table's cell: shares as three digits, what is not defined as a dash."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))


def table(rows, heads=None):
    """A sortable table of rows (dicts). heads: dict key -> heading, the keys themselves by default."""
    if not rows:
        return ""
    heads = heads or {key: key for key in rows[0]}
    head = "".join(f"<th><button>{html.escape(name)}</button></th>" for name in heads.values())
    body = "".join("<tr>" + "".join(f"<td>{cell(row.get(key))}</td>" for key in heads) + "</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def tiles(cells):
    """Large numbers: list of (number, words), both text."""
    parts = "".join(
        f'<div class="tile"><b>{html.escape(number)}</b>{html.escape(words)}</div>' for number, words in cells
    )
    return f'<div class="tiles">{parts}</div>'


def facts(pairs):
    """A list of terms: dict of term -> text."""
    parts = "".join(f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>" for key, value in pairs.items())
    return f"<dl>{parts}</dl>"


def picture(image, words, quality=85):
    """An image (B G R) as an <img> that holds its own data."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    text = base64.b64encode(data).decode()
    height, width = image.shape[:2]
    return f'<img src="data:image/jpeg;base64,{text}" width="{width}" height="{height}" alt="{html.escape(words)}">'
