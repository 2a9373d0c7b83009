// A plain Express application; nothing in it knows of deployd.
const express = require('express');

const app = express();

app.get('/', (request, response) => {
  response.type('text').send(`${process.env.GREETING || 'hello'} from Express\n`);
});

app.listen(process.env.PORT || 3000, process.env.HOST);
