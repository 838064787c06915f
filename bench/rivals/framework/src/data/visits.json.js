// One loader for all pages: what they show, aggregated in the database.
import pg from "pg";

const last = process.env.BENCH_LAST;
const client = new pg.Client({ connectionString: process.env.BENCH_URL });
await client.connect();
const windows = {};
for (const days of [1, 7, 30]) {
  const span = [last, days];
  const where = "date > $1::date - $2::integer AND date <= $1::date";
  const top = await client.query(
    `SELECT path, sum(visits)::integer AS visits FROM metrics WHERE ${where} GROUP BY path ORDER BY 2 DESC, 1 LIMIT 100`,
    span,
  );
  const daily = await client.query(
    `SELECT date::text AS date, sum(visits)::integer AS visits FROM metrics WHERE ${where} GROUP BY date ORDER BY date`,
    span,
  );
  const named = top.rows.slice(0, 8).map(({ path }) => path);
  const cells = await client.query(
    `SELECT date::text AS date, CASE WHEN path = ANY($3) THEN path ELSE 'Other' END AS path, sum(visits)::integer AS visits
     FROM metrics WHERE ${where} GROUP BY 1, 2 ORDER BY 1, 2`,
    [...span, named],
  );
  windows[days] = { top: top.rows, daily: daily.rows, cells: cells.rows };
}
await client.end();
process.stdout.write(JSON.stringify(windows));
