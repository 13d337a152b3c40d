// g++ -std=c++17 segment.cpp -lonnxruntime -o segment
// ./segment model.onnx photograph.ppm mask.pgm
#include <fstream>
#include <iterator>
#include <vector>
#include <onnxruntime_cxx_api.h>

int main(int count, char** words) {
  if (count != 4) return 2;
  // binary PPM: "P6 width height 255", then bytes of red, green and blue, row by row
  std::ifstream file(words[2], std::ios::binary);
  std::string kind;
  int64_t width, height, most;
  file >> kind >> width >> height >> most;
  file.get();
  std::vector<uint8_t> pixels{std::istreambuf_iterator<char>(file), {}};

  Ort::Env environment;
  Ort::Session session(environment, words[1], Ort::SessionOptions{});
  const std::vector<int64_t> shape{1, height, width, 3};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  auto images = Ort::Value::CreateTensor<uint8_t>(
      memory, pixels.data(), pixels.size(), shape.data(), shape.size());
  const char *inputs[] = {"images"}, *outputs[] = {"mask"};
  auto found = session.Run(Ort::RunOptions{}, inputs, &images, 1, outputs, 1);

  // (1, height, width) mask values of the data set, as a binary PGM
  std::ofstream mask(words[3], std::ios::binary);
  mask << "P5 " << width << " " << height << " 255\n";
  mask.write(reinterpret_cast<const char*>(found[0].GetTensorData<uint8_t>()), width * height);
}
