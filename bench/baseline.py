"""A plain script to compare with: all rows into pandas, Altair's charts, one page for each window.

``BENCH_URL=postgresql://… BENCH_LAST=2026-05-25 python bench/baseline.py FOLDER``. It is kept plain
on purpose, as somebody would write it in half an hour.
"""

import os
import sys
import warnings
from pathlib import Path

import altair as alt
import pandas as pd
import psycopg

folder = Path(sys.argv[1])
last = pd.Timestamp(os.environ["BENCH_LAST"])
alt.data_transformers.disable_max_rows()
warnings.filterwarnings("ignore", message="pandas only supports SQLAlchemy")

with psycopg.connect(os.environ["BENCH_URL"]) as connection:
    visits = pd.read_sql("SELECT date, path, visits FROM metrics", connection, parse_dates=["date"])

for name, days in {"today": 1, "7d": 7, "30d": 30}.items():
    window = visits[(visits["date"] > last - pd.Timedelta(days=days)) & (visits["date"] <= last)]
    top = window.groupby("path")["visits"].sum().sort_values(ascending=False).head(100)
    named = window["path"].where(window["path"].isin(top.index[:8]), "Other")
    stacked = window.assign(path=named).groupby(["date", "path"], as_index=False)["visits"].sum()
    daily = window.groupby("date", as_index=False)["visits"].sum().sort_values("date", ascending=False)
    chart = (
        alt.Chart(stacked, title=f"Visits: {name}", width=800)
        .mark_bar()
        .encode(x="yearmonthdate(date):O", y="visits:Q", color="path:N", tooltip=["date:T", "path", "visits"])
    )
    file = folder / f"{name}.html"
    chart.save(file, inline=True)
    tables = daily.to_html(index=False) + top.reset_index().to_html(index=False)
    file.write_text(file.read_text().replace("</body>", f"{tables}</body>"))
