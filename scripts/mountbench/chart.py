"""A small SVG: one row a line, one bar a program, as a part of the best."""
from html import escape

COLOURS = {"adafs": "#2266aa", "rclone": "#bb7733", "blobfuse2": "#779944", "limit": "#999999"}
LEFT, WIDTH, BAR = 330, 330, 11


def bars(result):
    values = dict(result["values"])
    if result["limit"]:
        values["limit"] = result["limit"]
    best = max(values.values()) if result["more"] else min(values.values())
    for name, value in values.items():
        yield name, value, value / best if result["more"] else best / value


def svg(results, title):
    out, y = [], 34
    for result in results:
        rows = list(bars(result))
        out.append(f'<text x="8" y="{y + 10}">{escape(result["server"])}: {escape(result["what"])}</text>')
        for name, value, part in rows:
            label = result["limit_name"] if name == "limit" else name
            out.append(f'<rect x="{LEFT}" y="{y}" width="{max(1, part * WIDTH):.0f}" height="{BAR - 2}" '
                       f'fill="{COLOURS[name]}"/><text x="{LEFT + WIDTH + 8}" y="{y + 9}">{value:.4g} {result["unit"]} '
                       f'{escape(label)}</text>')
            y += BAR
        y += 9
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 190}" height="{y + 6}" '
            f'font-family="sans-serif" font-size="10"><rect width="100%" height="100%" fill="white"/>'
            f'<text x="8" y="18" font-size="13">{escape(title)}</text>{"".join(out)}</svg>\n')
