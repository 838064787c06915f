"""The report as a marimo notebook."""

import marimo

app = marimo.App(width="medium")


@app.cell
def _():
    import os
    import warnings

    import altair as alt
    import marimo as mo
    import pandas as pd
    import psycopg

    warnings.filterwarnings("ignore", message="pandas only supports SQLAlchemy")
    alt.data_transformers.disable_max_rows()
    last = pd.Timestamp(os.environ["BENCH_LAST"])
    with psycopg.connect(os.environ["BENCH_URL"]) as connection:
        visits = pd.read_sql(
            "SELECT date, path, visits FROM metrics WHERE date > %(last)s::date - 60",
            connection,
            params={"last": os.environ["BENCH_LAST"]},
            parse_dates=["date"],
        )
    return alt, last, mo, pd, visits


@app.cell
def _(alt, last, mo, pd, visits):
    def report(name, days):
        window = visits[(visits["date"] > last - pd.Timedelta(days=days)) & (visits["date"] <= last)]
        top = window.groupby("path")["visits"].sum().sort_values(ascending=False).head(100)
        named = window["path"].where(window["path"].isin(top.index[:8]), "Other")
        stacked = window.assign(path=named).groupby(["date", "path"], as_index=False)["visits"].sum()
        daily = window.groupby("date", as_index=False)["visits"].sum().sort_values("date", ascending=False)
        chart = (
            alt.Chart(stacked, title=f"Visits: {name}", width=800)
            .mark_bar()
            .encode(
                x="yearmonthdate(date):O", y="visits:Q", color="path:N", tooltip=["date:T", "path", "visits"]
            )
        )
        return mo.vstack(
            [chart, mo.Html(daily.to_html(index=False)), mo.Html(top.reset_index().to_html(index=False))]
        )

    return (report,)


@app.cell
def _(report):
    report("30d", 30)


@app.cell
def _(report):
    report("7d", 7)


@app.cell
def _(report):
    report("today", 1)


if __name__ == "__main__":
    app.run()
