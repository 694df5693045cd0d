// For browsers without modules, which run nothing else of this page.
(function () {
  document.documentElement.setAttribute("data-running", "no");
  var place = document.getElementById("loading");
  place.textContent =
    "This browser is too old for the wallboard: it needs Chromium 69, Safari 12.1, Firefox 67 or newer. " +
    "此浏览器版本过旧，看板需要 Chromium 69、Safari 12.1、Firefox 67 或更新版本。";
})();
