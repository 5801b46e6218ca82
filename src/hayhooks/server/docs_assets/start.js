// Starts Swagger UI on the element that names the schema. A file of its own, so that the page needs no inline script.
const element = document.getElementById("swagger-ui");
window.ui = SwaggerUIBundle({
  domNode: element,
  url: element.dataset.openapi,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  filter: true,
  showExtensions: false,
  persistAuthorization: false, // an admin key is not kept in the browser's storage
  validatorUrl: null, // by default the schema's address is sent to a service on the internet
});
