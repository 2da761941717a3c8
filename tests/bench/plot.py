"""A plot as SVG, written by hand: one panel for each piece of work, time (logarithmic) against round-trip time, a line for
each tool."""
from html import escape
from math import ceil, floor, log10

COLOURS = {"vastfs": "#d62728", "sshfs": "#1f77b4", "rclone": "#2ca02c", "scp": "#9467bd", "tar": "#ff7f0e", "local": "#7f7f7f"}
WIDTH, HEIGHT, LEFT, TOP, GAP = 300, 220, 62, 46, 34


def text(x, y, words, size=11, anchor="start", **more):
    extra = "".join(f' {k.replace("_", "-")}="{escape(str(v))}"' for k, v in more.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def panel(left, top, title, rtts, series):
    """series: {tool: [(rtt, seconds, was it scaled up?)]}"""
    out = [text(left + WIDTH / 2, top - 10, title, 13, "middle", font_weight="bold")]
    values = [s for points in series.values() for _rtt, s, _scaled in points]
    low = floor(log10(min(values, default=1)))
    high = max(ceil(log10(max(values, default=10))), low + 1)

    def x(rtt):  # evenly spaced: the interesting ones are close to 0
        return left + 14 + rtts.index(rtt) * (WIDTH - 28) / max(len(rtts) - 1, 1)

    def y(seconds):
        return top + HEIGHT - (log10(seconds) - low) * HEIGHT / (high - low)

    for power in range(low, high + 1):
        at = y(10 ** power)
        out.append(f'<line x1="{left}" y1="{at:.1f}" x2="{left + WIDTH}" y2="{at:.1f}" stroke="#ddd"/>')
        out.append(text(left - 6, at + 4, f"{10 ** power:g} s", anchor="end"))
    for rtt in rtts:
        out.append(text(x(rtt), top + HEIGHT + 16, f"{rtt:g}", anchor="middle"))
    out.append(text(left + WIDTH / 2, top + HEIGHT + 32, "round-trip time, ms", anchor="middle"))
    out.append(f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>')
    for tool, points in series.items():
        colour = COLOURS.get(tool, "#000")
        path = " ".join(f"{x(rtt):.1f},{y(s):.1f}" for rtt, s, _scaled in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for rtt, s, scaled in points:
            out.append(f'<circle cx="{x(rtt):.1f}" cy="{y(s):.1f}" r="3.5" stroke="{colour}" '
                       f'fill="{"#fff" if scaled else colour}"><title>{escape(tool)}, {rtt:g} ms: {s:.3g} s</title></circle>')
    return out


def write(path, heading, rtts, panels):
    """panels: [(title, series)]; the file appears whole or not at all."""
    columns = min(len(panels), 2)
    lines = ceil(len(panels) / columns)
    width = columns * (LEFT + WIDTH + GAP)
    height = TOP + lines * (HEIGHT + TOP + GAP + 10) + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" fill="#222">', f'<rect width="{width}" height="{height}" fill="#fff"/>',
           text(width / 2, 22, heading, 14, "middle")]
    for n, (title, series) in enumerate(panels):
        out += panel(LEFT + n % columns * (LEFT + WIDTH + GAP), TOP + 20 + n // columns * (HEIGHT + TOP + GAP + 10), title,
                     rtts, series)
    tools = [tool for tool in COLOURS if any(tool in series for _title, series in panels)]
    for n, tool in enumerate(tools):
        at = LEFT + n * 90
        out.append(f'<line x1="{at}" y1="{height - 26}" x2="{at + 22}" y2="{height - 26}" stroke="{COLOURS[tool]}" '
                   'stroke-width="3"/>')
        out.append(text(at + 27, height - 22, tool, 12))
    out.append(text(LEFT, height - 6, "hollow: measured with fewer files and scaled up", 10, fill="#666"))
    out.append("</svg>\n")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out))
