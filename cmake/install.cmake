# SPDX-License-Identifier: MIT
#
# Headers to include/, the package to share/cmake/concurrent: nothing depends on the architecture.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/concurrent")

install(TARGETS concurrent_executor EXPORT concurrent-targets FILE_SET HEADERS)
install(EXPORT concurrent-targets NAMESPACE concurrent:: DESTINATION "${package_dir}")

configure_package_config_file(
  cmake/concurrent-config.cmake.in concurrent-config.cmake
  INSTALL_DESTINATION "${package_dir}"
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(
  concurrent-config-version.cmake COMPATIBILITY SameMajorVersion ARCH_INDEPENDENT)
install(
  FILES "${CMAKE_CURRENT_BINARY_DIR}/concurrent-config.cmake"
        "${CMAKE_CURRENT_BINARY_DIR}/concurrent-config-version.cmake"
  DESTINATION "${package_dir}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
