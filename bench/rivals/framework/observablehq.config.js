// No request to other hosts, neither when it builds nor when it is read.
export default {
  title: "Visits",
  root: "src",
  globalStylesheets: [],
  search: false,
  pages: [
    { name: "Today", path: "/index" },
    { name: "7 days", path: "/7d" },
    { name: "30 days", path: "/30d" },
  ],
};
