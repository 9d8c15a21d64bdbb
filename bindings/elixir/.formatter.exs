[
  inputs: ["{mix,.formatter}.exs", "{lib,test,benches,examples}/**/*.{ex,exs}"],
  line_length: 120
]
