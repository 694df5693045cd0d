// Decides what happens when the page does not come up, since the service died while it was loading: it is loaded anew, once the
// service answers.  Plain and old, so that nothing can be wrong with it.
(function () {
  var EVERY_MS = 30000;
  function look() {
    if (document.documentElement.hasAttribute("data-running")) return;
    var request = new XMLHttpRequest();
    request.onload = function () {
      if (request.status === 200) window.location.reload();
      else setTimeout(look, EVERY_MS);
    };
    request.onerror = function () {
      setTimeout(look, EVERY_MS);
    };
    request.open("GET", "./");
    request.send();
  }
  setTimeout(look, EVERY_MS);
})();
